/** The package's entry "balsa/testing": a real cluster for the tests of services. */

export { leaderOf, TestCluster, type TestClusterOptions } from "./cluster.ts";
export { NodeProcess, type NodeProcessOptions } from "./node-process.ts";
