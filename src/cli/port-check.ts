/** Finds out, before anything starts, whether an address can be listened on. Keeps nothing open. */

import { createServer } from "node:net";
import { type Address, formatAddress } from "../rpc/addresses.ts";
import { CliError, EXIT } from "./exit-code.ts";

/** @throws CliError that names the address; `wayOut` says what the user can do. */
export async function checkFree(address: Address, wayOut: string): Promise<void> {
  const code = await tryListening(address);
  if (code === "") return;
  const what = formatAddress(address);
  switch (code) {
    case "EADDRINUSE":
      throw new CliError(EXIT.failed, `port ${address.port} is in use (${what}); ${wayOut}`);
    case "EACCES":
      throw new CliError(EXIT.failed, `no permission to listen on ${what}; ${wayOut}`);
    case "EADDRNOTAVAIL":
    case "ENOTFOUND":
      throw new CliError(EXIT.failed, `${address.host} is no address of this machine; ${wayOut}`);
    default:
      throw new CliError(EXIT.failed, `cannot listen on ${what}: ${code}; ${wayOut}`);
  }
}

/** The system's error code, or nothing when it worked. */
function tryListening({ host, port }: Address): Promise<string> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve("")));
  });
}
