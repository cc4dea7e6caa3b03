// What a page in a browser does with Connect-Web, run by Node: prints a user, an error's code, and the first two items of a stream.
//
//     node client.mjs http://127.0.0.1:7070
import { readFileSync } from "node:fs";
import { createFileRegistry, fromBinary, toJson } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";

const compiled = readFileSync(new URL("../proto/user.binpb", import.meta.url));
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, compiled));
const UserService = registry.getService("user.v1.UserService");
const User = registry.getMessage("user.v1.User");
const baseUrl = process.argv[2] ?? "http://127.0.0.1:7070";

for (const [name, transport] of [
  ["connect", createConnectTransport({ baseUrl })],
  ["connect, binary, GET", createConnectTransport({ baseUrl, useBinaryFormat: true, useHttpGet: true })],
  ["grpc-web", createGrpcWebTransport({ baseUrl })],
]) {
  const client = createClient(UserService, transport);
  console.log(name, JSON.stringify(toJson(User, await client.getUser({ id: "1" }))));
  const error = await client.getUser({ id: "99" }).then(() => null, (e) => ConnectError.from(e));
  console.log(name, Code[error.code], error.rawMessage);
  const seen = [];
  for await (const user of client.watchUser({ id: "3" })) {
    seen.push(user.version);
    if (seen.length === 2) break;
    await client.renameUser({ id: "3", name: `Edsger via ${name}` });
  }
  console.log(name, "watched", seen.length);
}
