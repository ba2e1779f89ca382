/**
 * One connection to the database file, and all that stands on it: a connection that may have seen what did not happen is
 * replaced as a whole. It runs nothing by itself.
 */

import type { Database } from "better-sqlite3";
import type { KnownExtension } from "../sql/extension.ts";
import type { Limits } from "../sql/limits.ts";
import { DeterministicFunctions } from "./deterministic-functions.ts";
import { InteractiveTransactions } from "./interactive-transactions.ts";
import { encodeSettings, KeptSettings } from "./kept-settings.ts";
import { MachineMeta } from "./machine-meta.ts";
import { RangeChecksums } from "./range-checksum.ts";
import { RequestExecutor } from "./request-executor.ts";
import { type SessionLimits, Sessions } from "./sessions.ts";
import { TransactionExecutor } from "./transaction-executor.ts";
import { undeclaredNames } from "./undeclared-names.ts";
import { WalFiles } from "./wal-files.ts";
import { WalState } from "./wal-state.ts";
import { openWriterConnection } from "./writer-connection.ts";

export interface ConnectionOptions {
  readonly path: string;
  readonly limits: Limits;
  readonly sessionLimits: SessionLimits;
  readonly preparedStatements?: number;
  readonly extensions?: readonly KnownExtension[];
}

const PREPARED_STATEMENTS = 500;

export class MachineConnection {
  readonly database: Database;
  readonly meta: MachineMeta;
  readonly settings: KeptSettings;
  readonly sessions: Sessions;
  readonly functions: DeterministicFunctions;
  readonly requests: RequestExecutor;
  readonly interactive: InteractiveTransactions;
  readonly ranges: RangeChecksums;
  readonly wal: WalState;
  readonly files: WalFiles;

  /**
   * `counted`: log time, and the next session's id: state that is in no table yet.
   * @throws MachineFault if it cannot be opened, or is not a database.
   */
  constructor(options: ConnectionOptions, counted: () => readonly [number, number]) {
    this.database = openWriterConnection(options.path, options);
    this.meta = new MachineMeta(this.database);
    this.settings = new KeptSettings(this.database);
    this.sessions = new Sessions(this.database, options.sessionLimits);
    this.functions = new DeterministicFunctions();
    this.functions.register(this.database);
    this.requests = new RequestExecutor(this.database, {
      functions: this.functions,
      flush: () => this.sessions.flush(),
      preparedStatements: options.preparedStatements ?? PREPARED_STATEMENTS,
      undeclared: undeclaredNames(options.extensions ?? []),
    });
    const executor = new TransactionExecutor(this.database, this.requests);
    this.interactive = new InteractiveTransactions(executor, this.functions, options.limits);
    this.ranges = new RangeChecksums(this.database, {
      // Rows are read as a commit would leave them: nothing of them is in memory alone.
      settle: () => {
        this.sessions.flush();
        this.requests.touchSavepoint();
      },
      counted: () => [...counted(), encodeSettings(this.settings.current)],
    });
    this.wal = new WalState(this.database);
    this.files = new WalFiles(options.path);
  }
}
