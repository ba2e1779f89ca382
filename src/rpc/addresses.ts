/** Addresses as text: HOST:PORT. Decides which of them the world can reach; resolves no names. */

import { BalsaError } from "../sql/errors.ts";

export interface Address {
  /** A name, an IPv4 address, or an IPv6 address without its brackets. */
  readonly host: string;
  /** 0 to 65535; 0 asks for a free one when listening. */
  readonly port: number;
}

const NAME = "(?<name>[A-Za-z0-9._-]+)";
const BRACKETED = "\\[(?<v6>[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?)\\]";
const SHAPE = new RegExp(`^(?:${NAME}|${BRACKETED}):(?<port>[0-9]{1,5})$`);

/** `127.0.0.1:4001`, `db-1:4001`, `[::1]:4001`. @throws BalsaError INVALID_ARGUMENT that shows how to write it. */
export function parseAddress(text: string): Address {
  const groups = SHAPE.exec(text)?.groups;
  const host = groups?.["v6"] ?? groups?.["name"];
  const port = Number(groups?.["port"]);
  if (host === undefined || port > 65_535) {
    const message = `"${text}" is not HOST:PORT, such as 127.0.0.1:4001, or [::1]:4001 for IPv6`;
    throw new BalsaError("INVALID_ARGUMENT", message, { facts: { address: text } });
  }
  return { host, port };
}

/** The inverse of `parseAddress`. */
export function formatAddress({ host, port }: Address): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** True for what only this machine can reach. Of names only `localhost` counts: others may resolve to anything. */
export function isLoopback(host: string): boolean {
  if (host.toLowerCase() === "localhost" || host === "::1") return true;
  return /^(::ffff:)?127(\.[0-9]{1,3}){3}$/i.test(host);
}

export interface Exposure {
  readonly listen: Address;
  readonly advertise: Address;
  /** The operator said that a network without TLS is what he wants. */
  readonly insecure: boolean;
}

/** DESIGN D16: closed by default. @throws BalsaError REFUSED that names the way out. */
export function checkExposure({ listen, advertise, insecure }: Exposure): void {
  if (insecure) return;
  const open = (
    [
      ["listen", listen],
      ["advertise", advertise],
    ] as const
  ).find(([, address]) => !isLoopback(address.host));
  if (open === undefined) return;
  const [what, address] = open;
  const text = formatAddress(address);
  const message =
    `refusing to ${what} on ${text}: it is beyond loopback, and nothing here is encrypted or asks ` +
    "who calls. Use a loopback address such as 127.0.0.1; say --insecure if the network is closed";
  throw new BalsaError("REFUSED", message, { facts: { [what]: text } });
}
