/** What one client may have under way on its stream, and what becomes of a flood: numbers only. */

export interface StreamBounds {
  /** Writes under way on one stream; more are not read. Default 4,096. */
  readonly writes: number;
  /** Their bytes. Default 16 MiB. */
  readonly writeBytes: number;
  /** Chunks of rows asked of the node and not yet given to the client. Default 512. */
  readonly chunks: number;
  /** Bytes of answers that the client has not taken; above it no more rows are asked for. Default 2 MiB. */
  readonly answerBytes: number;
  /** Reads open on one stream, the ones waiting for a Fetch included; one more is OVERLOADED. Default 20,000. */
  readonly openQueries: number;
  /** Interactive transactions on one stream, open or waiting for their turn; one more is OVERLOADED. Default 1,000. */
  readonly transactions: number;
  /** Requests a second that all streams together are refused as too much, before those that were rest. Default 50,000. */
  readonly refusalsPerSecond: number;
  /** The longest such rest, in milliseconds: the stream may also have something to cancel. Default 500. */
  readonly restMs: number;
}

export const DEFAULT_STREAM_BOUNDS: StreamBounds = {
  writes: 4096,
  writeBytes: 16 * 1024 * 1024,
  chunks: 512,
  answerBytes: 2 * 1024 * 1024,
  openQueries: 20_000,
  transactions: 1_000,
  refusalsPerSecond: 50_000,
  restMs: 500,
};
