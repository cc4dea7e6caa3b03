// UserService in Node with Connect: an ordinary Connect server that knows nothing of Switchboard.
//
//     npm install && node server.mjs 50051
import { readFileSync } from "node:fs";
import { createServer } from "node:http2";
import { createFileRegistry, create, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";

const compiled = readFileSync(new URL("../proto/user.binpb", import.meta.url));
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, compiled));
const UserService = registry.getService("user.v1.UserService");
const User = registry.getMessage("user.v1.User");

const users = new Map(
  [
    { id: "1", name: "Ada", friendIds: ["2"] },
    { id: "2", name: "Grace", friendIds: ["1", "3"] },
    { id: "3", name: "Edsger", friendIds: [] },
  ].map((user) => [user.id, create(User, user)]),
);
let changed = () => {};
let change = new Promise((resolve) => (changed = resolve));

function find(id) {
  const user = users.get(id);
  if (!user) throw new ConnectError(`there is no user '${id}'`, Code.NotFound);
  return user;
}

const routes = (router) =>
  router.service(UserService, {
    getUser: (request) => find(request.id),
    renameUser(request) {
      if (!request.name) throw new ConnectError("a user has a name", Code.InvalidArgument);
      const user = find(request.id);
      user.name = request.name;
      user.version += 1n;
      changed();
      change = new Promise((resolve) => (changed = resolve));
      return user;
    },
    async *watchUser(request, context) {
      for (let seen = -1n; !context.signal.aborted; await Promise.race([change, new Promise((r) => setTimeout(r, 1000))])) {
        const user = find(request.id);
        if (user.version !== seen) {
          seen = user.version;
          yield user;
        }
      }
    },
  });

const port = Number(process.argv[2] ?? 50051);
const server = createServer(connectNodeAdapter({ routes }));
server.listen(port, "127.0.0.1", () => console.log(`UserService on 127.0.0.1:${server.address().port}`));
