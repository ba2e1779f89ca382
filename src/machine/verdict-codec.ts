/** Verdicts as the log holds them, for a node that looks for one or proposes one. It judges nothing. */

import type { VerdictCodec } from "../node/ports.ts";
import { encodeVerdict, type LoggedVerdict, readVerdict } from "../wire/log-codec.ts";

export const verdictCodec: VerdictCodec = {
  encode: encodeVerdict,
  read: ({ index: at, kind, payload }) => {
    const found = kind === "command" ? read(payload) : null;
    return found === null ? null : { ...found, at };
  },
};

/** An entry that this program cannot read stops the machine when it comes to it, not who looks ahead. */
function read(payload: Uint8Array): LoggedVerdict | null {
  try {
    return readVerdict(payload);
  } catch {
    return null;
  }
}
