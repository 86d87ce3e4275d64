"""One module a stage: what it decides is a value, and one function applies it under the fence."""
