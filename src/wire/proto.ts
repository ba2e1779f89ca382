/**
 * The .proto files, loaded: for reflection, for messages that are not worth a codec by hand, and for the tests that hold
 * the codecs to them. Never on the path of a request.
 */

import { existsSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import protobuf from "protobufjs";
import { invariant } from "../sql/invariant.ts";

const PACKAGE = "balsa.v1";

/** The directory that imports are relative to; the same from src/ and from dist/. */
export const PROTO_DIRECTORY = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "proto");

/** Paths of all .proto files, relative to PROTO_DIRECTORY. */
export function protoFiles(): string[] {
  const directory = join("balsa", "v1");
  const names = readdirSync(join(PROTO_DIRECTORY, directory));
  return names
    .filter((name) => name.endsWith(".proto"))
    .sort()
    .map((name) => join(directory, name));
}

let loaded: protobuf.Root | null = null;

/** All of balsa.v1; read once. */
export function loadProto(): protobuf.Root {
  if (loaded !== null) return loaded;
  invariant(existsSync(PROTO_DIRECTORY), `no protocol files in ${PROTO_DIRECTORY}`);
  const root = new protobuf.Root();
  root.resolvePath = (_origin, target) =>
    target.startsWith(PROTO_DIRECTORY) ? target : join(PROTO_DIRECTORY, target);
  root.loadSync(protoFiles());
  root.resolveAll();
  loaded = root;
  return root;
}

/** A message's type by its short name, for example `StatusResponse`. */
export function messageType(name: string): protobuf.Type {
  return loadProto().lookupType(`${PACKAGE}.${name}`);
}
