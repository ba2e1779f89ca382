/** What services import. Everything a caller may name is here, and nothing else. */

export { type BalsaCode, BalsaError, type Facts, type Outcome, SqlError } from "../sql/errors.ts";
export type { RunResult, StatementResult } from "../sql/result.ts";
export type { Consistency, OnError, Statement as StatementInput } from "../sql/statement.ts";
export type { Args, BindValue, IntegerMode, Row, Value } from "../sql/value.ts";
export { type BlobInfo, type BlobRef, BlobStore } from "./blob.ts";
export type {
  BlobListOptions,
  BlobReadOptions,
  BlobStreamOptions,
  BlobWriteOptions,
} from "./blob-options.ts";
export type { BlobSource } from "./blob-source.ts";
export { StagedBlob, type WrittenBlob } from "./blob-upload.ts";
export {
  ClusterAdmin,
  type ClusterAdminOptions,
  type MemberChange,
  type MemberStatus,
} from "./cluster-admin.ts";
export { type BatchStatementResult, connect, Database } from "./database.ts";
export type {
  BatchOptions,
  CallOptions,
  ClientLimits,
  ConnectOptions,
  TransactionOptions,
} from "./options.ts";
export type { Served } from "./served.ts";
export { type QueryResult, type RowIterator, Statement } from "./statement.ts";
export type { ClusterStatus, EndpointStatus, NodeStatus } from "./status.ts";
export { Transaction } from "./transaction.ts";
export { TransactionStatement } from "./transaction-statement.ts";
