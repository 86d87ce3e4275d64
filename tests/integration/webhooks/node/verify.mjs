// Says for each case on standard input, a JSON list, whether a library verifies it: null, or the error's name.
import { text } from "node:stream/consumers";

const [library] = process.argv.slice(2);
const { Webhook } = await import(library);
const results = JSON.parse(await text(process.stdin)).map(({ secret, body, headers }) => {
  try {
    new Webhook(secret).verify(Buffer.from(body, "base64"), headers);
    return null;
  } catch (error) {
    return error.name;
  }
});
console.log(JSON.stringify(results));
