/** The server as a whole: health, reflection, peers beside gRPC, and ports that cannot be had. */

import { createRequire } from "node:module";
import { join } from "node:path";
import type { Client, ClientDuplexStream, ClientReadableStream } from "@grpc/grpc-js";
import { protoPath as healthProto } from "grpc-health-check";
import type protobuf from "protobufjs";
import { afterEach, describe, expect, test } from "vitest";
import { formatAddress } from "../../src/rpc/addresses.ts";
import { PeerTransport } from "../../src/rpc/peer-transport.ts";
import { type RunningServer, startServer } from "../../src/rpc/server.ts";
import { BalsaError } from "../../src/sql/errors.ts";
import {
  ask,
  FakeNode,
  type Loose,
  loadService,
  newClient,
  serve,
  sqlClient,
} from "./fake-node.ts";
import {
  bindListener,
  closeEverything,
  closeLater,
  eventually,
  helloOf,
  readIndex,
  SILENT,
  stopTransport,
  Witness,
} from "./loopback.ts";

afterEach(closeEverything);

interface HealthClient extends Client {
  Check(request: object, answer: (error: Loose, response: Loose) => void): void;
  Watch(request: object): ClientReadableStream<Loose>;
}

function healthClient(server: RunningServer): HealthClient {
  const include = join(healthProto, "..", "..", "..");
  return newClient(loadService([healthProto], [include], "grpc.health.v1.Health"), server.address);
}

describe("health", () => {
  test.each(["", "balsa.v1.Sql", "balsa.v1.Cluster"])(
    "service %j is SERVING only with a leader and without trouble",
    async (service) => {
      const node = new FakeNode();
      const client = healthClient(await serve(node));
      const seen: string[] = [];
      const watch = client.Watch({ service });
      watch.on("data", ({ status }) => seen.push(status));
      watch.on("error", () => {});
      const expectLast = (status: string) => {
        return eventually(async () => {
          const checked = await ask((answer) => client.Check({ service }, answer));
          expect(checked.status).toBe(status);
          expect(seen.at(-1)).toBe(status);
        });
      };
      await expectLast("SERVING");
      node.become({ leader: 0, leaderAddress: "" });
      await expectLast("NOT_SERVING");
      node.become({ leader: 2 });
      await expectLast("SERVING");
      node.become({ trouble: "its data differ from the others'" });
      await expectLast("NOT_SERVING");
      expect(seen).toEqual(["SERVING", "NOT_SERVING", "SERVING", "NOT_SERVING"]);
      watch.cancel();
    },
  );

  test("a service that is none is NOT_FOUND", async () => {
    const client = healthClient(await serve(new FakeNode()));
    await expect(ask((answer) => client.Check({ service: "x" }, answer))).rejects.toThrow(
      /NOT_FOUND/,
    );
  });
});

describe("reflection", () => {
  const root = join(
    createRequire(import.meta.url).resolve("@grpc/reflection/package.json"),
    "../build/proto/grpc/reflection",
  );

  test.each(["v1", "v1alpha"])("%s lists the services and describes them", async (version) => {
    const server = await serve(new FakeNode());
    const name = `grpc.reflection.${version}.ServerReflection`;
    const path = join(root, version, "reflection.proto");
    const client = newClient<Loose>(loadService([path], [root], name), server.address);
    const stream: ClientDuplexStream<object, Loose> = client.ServerReflectionInfo();
    const answers: Loose[] = [];
    stream.on("data", (answer) => answers.push(answer));
    stream.on("error", () => {});
    stream.write({ list_services: "*" });
    stream.write({ file_containing_symbol: "balsa.v1.Sql" });
    stream.write({ file_containing_symbol: "balsa.v1.Cluster.Status" });
    await eventually(() => expect(answers).toHaveLength(3));
    const services = answers[0].list_services_response.service.map((one: Loose) => one.name);
    for (const service of ["balsa.v1.Sql", "balsa.v1.Cluster", "grpc.health.v1.Health"]) {
      expect(services).toContain(service);
    }
    for (const answer of answers.slice(1)) {
      const [file] = answer.file_descriptor_response.file_descriptor_proto;
      const text = Buffer.from(file).toString("latin1");
      expect(text).toContain("balsa.v1");
      expect(text).toMatch(/StatusResponse/);
      expect(text).toMatch(/ExecuteRequest/);
    }
    stream.end();
  });
});

describe("one port", () => {
  test("serves peers and gRPC side by side", async () => {
    const listeners = [await bindListener(), await bindListener()] as const;
    const peers = new Map(listeners.map(({ address }, at) => [at + 1, formatAddress(address)]));
    const witnesses = [new Witness(), new Witness()] as const;
    const transports = [1, 2].map((id) => new PeerTransport({ id, peers, logger: SILENT }));
    for (const [at, transport] of transports.entries()) {
      const listen = listeners[at as 0 | 1];
      await serve(new FakeNode(), { listen, peers: transport });
      transport.start(witnesses[at as 0 | 1], () => helloOf(at + 1));
      closeLater(() => stopTransport(transport));
    }
    await eventually(() => expect(witnesses[1].of("hello")).toHaveLength(2));
    transports[0]?.send(2, [readIndex(1, 2, 3)], 0);
    const client = sqlClient(listeners[1].address);
    const response = await ask((answer) => client.Execute({ batch: {} }, answer));
    expect(response.index).toBe(1);
    await eventually(() => expect(witnesses[1].received()).toEqual([readIndex(1, 2, 3)]));
  });

  test("that is in use is a typed error", async () => {
    const { address } = await serve(new FakeNode());
    const again = startServer({
      listen: address,
      node: new FakeNode(),
      peers: null,
      logger: SILENT,
    });
    await expect(again).rejects.toThrow(BalsaError);
    await expect(again).rejects.toMatchObject({
      code: "UNAVAILABLE",
      facts: { system: "EADDRINUSE" },
    });
  });

  test("a server without peers closes their connections and serves on", async () => {
    const server = await serve(new FakeNode());
    const peers = new Map([[2, formatAddress(server.address)]]);
    const transport = new PeerTransport({ id: 1, peers, logger: SILENT });
    const witness = new Witness();
    transport.start(witness, () => helloOf(1));
    closeLater(() => stopTransport(transport));
    await eventually(() => expect(witness.of("unreachable")[0]?.how).toBe("other"));
    const client = sqlClient(server.address);
    await ask((answer) => client.Execute({ batch: {} }, answer));
  });
});

test("the .proto files describe exactly the methods that are served", async () => {
  const { CLUSTER_METHODS, SQL_METHODS } = await import("../../src/rpc/grpc-methods.ts");
  const { loadProto } = await import("../../src/wire/proto.ts");
  const described = ["balsa.v1.Sql", "balsa.v1.Cluster"].flatMap((name) => {
    const service: protobuf.Service = loadProto().lookupService(name);
    return service.methodsArray.map((method) => {
      const streams = [method.requestStream === true, method.responseStream === true];
      return [`/${name}/${method.name}`, ...streams];
    });
  });
  const served = [...Object.values(SQL_METHODS), ...Object.values(CLUSTER_METHODS)].map(
    (method) => {
      return [method.path, method.requestStream, method.responseStream];
    },
  );
  expect(served.sort()).toEqual(described.sort());
});
