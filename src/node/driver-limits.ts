/** How much the writer's driver gives to its writer at once, and how long it waits. */

/** Requests handed to the writer and not answered yet: enough to keep its pipe full. */
export const EXECUTING_MAX = 256;
/** Payload bytes of one follower transaction, and entries of it, however small they are. */
export const APPLY_BYTES_MAX = 4 * 1024 * 1024;
export const APPLY_ENTRIES_MAX = 4_096;
/** A follower commits about this often; a read that waits makes it at once. */
export const APPLY_PACE_MS = 25;
/** The same on a node from which stale reads were taken within the last so many milliseconds. */
export const APPLY_PACE_READ_MS = 5;
export const READ_LATELY_MS = 1_000;
/** How often deadlines are looked at. */
export const WATCH_MS = 50;
/** A request that has just begun is not killed for a deadline that ran out while it waited. */
export const RUN_MS_MIN = 250;
/** Writers that die without having done anything in between: after these, the node halts. */
export const DEATHS_MAX = 5;
