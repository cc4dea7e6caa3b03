// graphql-js over the three services of proto/people.proto by grpc-js: what one writes without a gateway. Arguments: port, the services' port.
import http from "node:http";
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";
import { buildSchema } from "graphql";
import { createHandler } from "graphql-http/lib/use/http";

const [port, upstream] = process.argv.slice(2).map(Number);
const file = fileURLToPath(new URL("../proto/people.proto", import.meta.url));
const { sw } = grpc.loadPackageDefinition(loader.loadSync(file, { keepCase: false, defaults: true }));

const call = (Client, method) => {
  const client = new Client(`127.0.0.1:${upstream}`, grpc.credentials.createInsecure());
  return (request) => new Promise((done, fail) => client[method](request, (error, answer) => (error ? fail(error) : done(answer))));
};
const getUser = call(sw.Users, "getUser");
const listPosts = call(sw.Posts, "listPosts");
const listFriends = call(sw.Friends, "listFriends");

class User {
  constructor(found) {
    Object.assign(this, found);
  }
  async posts() {
    return (await listPosts({ id: this.id })).posts;
  }
  async friends() {
    return (await listFriends({ id: this.id })).friends;
  }
}

const schema = buildSchema(`
  type Query { user(id: Int!): User }
  type User { id: Int! name: String posts: [Post!] friends: [Friend!] }
  type Post { title: String }
  type Friend { name: String }
`);
const rootValue = { user: async (key) => new User(await getUser(key)) };
http.createServer(createHandler({ schema, rootValue })).listen(port, "127.0.0.1");
