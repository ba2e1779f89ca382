/** What every metric stands on: a cluster of real processes with a table in it, and where figures go. */

import type { Database } from "../../src/client/index.ts";
import { TestCluster } from "../../src/testing/cluster.ts";
import { CLIENTS, type Network } from "../support/proxy.ts";
import { CpuMeter } from "./processes.ts";
import type { Settings } from "./settings.ts";

/** The value of every row: 100 bytes. */
export const TEXT = "x".repeat(100);
export const INSERT = "INSERT INTO bench VALUES (?, ?)";
export const SELECT = "SELECT value FROM bench WHERE id = ?";

/** Rows of one request when a table is filled, and requests under way at once. */
const FILL_ROWS = 500;
const FILL_REQUESTS = 4;

export class Bed {
  readonly settings: Settings;
  readonly cluster: TestCluster;
  /** One client of all nodes. */
  readonly db: Database;
  readonly #print: (figure: object) => void;
  #nextKey = 1;

  private constructor(
    settings: Settings,
    cluster: TestCluster,
    print: (figure: object) => void,
    network: Network | null,
  ) {
    this.settings = settings;
    this.cluster = cluster;
    const through = (link: Network) => ({
      endpoints: cluster.nodes.map(({ id, endpoint }) => link.route(CLIENTS, id, endpoint)),
      discover: false,
    });
    this.db = cluster.connect(network === null ? {} : through(network));
    this.#print = print;
  }

  /**
   * Three nodes, unless another number is given, with their data under the system's temporary directory. With a network
   * everybody reaches everybody through its links.
   */
  static async make(
    settings: Settings,
    print: (figure: object) => void,
    nodes = 3,
    args: readonly string[] = [],
    network: Network | null = null,
  ): Promise<Bed> {
    const through = network === null ? {} : { route: network.route.bind(network) };
    const cluster = await TestCluster.start({ nodes, args, ...through });
    try {
      await cluster.ready();
      const bed = new Bed(settings, cluster, print, network);
      await bed.db.exec("CREATE TABLE bench (id INTEGER PRIMARY KEY, value TEXT)");
      return bed;
    } catch (error) {
      await cluster.stop();
      throw error;
    }
  }

  print(figure: object): void {
    this.#print(figure);
  }

  /** Ascending, never twice. */
  key(): number {
    this.#nextKey += 1;
    return this.#nextKey - 1;
  }

  /** Adds rows with ascending keys. */
  async fill(rows: number): Promise<void> {
    let left = rows;
    const worker = async () => {
      while (left > 0) {
        const count = Math.min(FILL_ROWS, left);
        left -= count;
        const statements = Array.from({ length: count }, () => {
          return { sql: INSERT, args: [this.key(), TEXT] };
        });
        await this.db.batch(statements);
      }
    };
    await Promise.all(Array.from({ length: FILL_REQUESTS }, worker));
  }

  /** Watches all processes as they are now; readers that are started later are not seen. */
  async meter(): Promise<CpuMeter> {
    return new CpuMeter(this.cluster, (await this.cluster.leader()).id);
  }
}
