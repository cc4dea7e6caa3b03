// The package ws: /echo sends back, every other path broadcasts to all who are there.
import { WebSocketServer } from "ws";

const port = Number(process.argv[2]);
const server = new WebSocketServer({ port, host: "127.0.0.1", perMessageDeflate: false });
server.on("connection", (socket, request) => {
  const echo = request.url === "/echo";
  socket.on("message", (data, binary) => {
    if (echo) return socket.send(data, { binary });
    for (const other of server.clients) other.send(data, { binary });
  });
});
