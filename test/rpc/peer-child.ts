/** A node's transport in a process of its own, to be killed by a test. Prints its port once it listens. */

import { Listener } from "../../src/rpc/listener.ts";
import { PeerTransport } from "../../src/rpc/peer-transport.ts";
import { helloOf, SILENT, Witness } from "./loopback.ts";

const [id = "2", peer = ""] = process.argv.slice(2);
const listener = await Listener.bind({ listen: { host: "127.0.0.1", port: 0 }, logger: SILENT });
const transport = new PeerTransport({
  id: Number(id),
  peers: new Map([[1, peer]]),
  logger: SILENT,
});
listener.open({ http2: (socket) => socket.destroy(), peer: (socket) => transport.accept(socket) });
transport.start(new Witness(), () => helloOf(Number(id)));
process.stdout.write(`${listener.address.port}\n`);
