/** What a caller of `db.blob` may choose, beside the options of every call, and the checks at that door. */

import {
  CALL_NAMES,
  type CallOptions,
  checkNames,
  integerIn,
  mergeCallOptions,
  type ResolvedCallOptions,
} from "./options.ts";

export interface BlobWriteOptions extends CallOptions {
  /** What the bytes are, such as `image/png`: kept beside them, up to 255 bytes. Default: none. */
  readonly type?: string;
}

export interface BlobReadOptions extends CallOptions {
  /** Bytes of the largest blob that is collected. Default `limits.resultBytes`, 64 MiB. From 0. */
  readonly maxBytes?: number;
}

export interface BlobStreamOptions extends CallOptions {
  /** The first byte, from 0. Default 0. */
  readonly start?: number;
  /** The last byte, included. Default: the last one there is. */
  readonly end?: number;
}

export interface BlobListOptions extends CallOptions {
  /** Blobs whose name begins with it. Default: all. */
  readonly prefix?: string;
}

type BlobOptions = BlobWriteOptions & BlobReadOptions & BlobStreamOptions & BlobListOptions;

/** Throws INVALID_ARGUMENT naming the option. What is text is checked where its length is known. */
export function resolveBlobOptions(
  where: string,
  base: ResolvedCallOptions,
  options: BlobOptions,
  own: readonly (keyof BlobOptions)[],
): Omit<BlobOptions, keyof CallOptions> & { readonly call: ResolvedCallOptions } {
  checkNames(where, options, [...own, ...CALL_NAMES]);
  const { type, maxBytes, start, end, prefix, ...call } = options;
  for (const [name, value] of Object.entries({ maxBytes, start, end })) {
    if (value !== undefined) integerIn(name, value, 0, Number.MAX_SAFE_INTEGER);
  }
  const given = { type, maxBytes, start, end, prefix };
  const chosen = Object.fromEntries(
    Object.entries(given).filter(([, value]) => value !== undefined),
  );
  return { ...chosen, call: { ...mergeCallOptions(base, call), integers: "auto" } };
}
