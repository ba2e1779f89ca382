/** What apps import that hold a node themselves. Everything a caller may name is here, and nothing else. */

export { EmbeddedNode, type EmbeddedNodeOptions, openNode } from "./embedded-node.ts";
export { LocalDatabase, LocalStatement } from "./local-database.ts";
