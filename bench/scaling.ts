// The model of docs/scaling.md: the needs of an installation, from measurements on one machine. Not a bench: it prints its table
// at once, with `node dist/bench/bench/scaling.js`. Change the constants here to see the effect.

/** Seconds of CPU, on one core of the machine that docs/performance.md names. */
const CPU = {
  /** Of a request that posts, on Express with scope `async-local`. */
  request: 135e-6,
  /** Of the node that posts, for each global post. */
  post: 6.5e-6,
  /** Of a node that listens, for each message from another one. */
  message: 5.3e-6,
  /** Of an event to a connection, with no other event to write with it. */
  delivery: 7.5e-6,
  /** Of a heartbeat of a connection. */
  heartbeat: 8e-6,
  /** Of Redis for each post, plus the cost for each listening node. */
  publish: 2.4e-6,
  publishToNode: 0.3e-6,
  /** In place of `publish`, of a master of a Cluster that shards channels. */
  publishSharded: 5.7e-6,
};
/** Bytes, without the system's memory for sockets. */
const MEMORY = { node: 120e6, connection: 17_000, channelOfNode: 1_860, channelOfNodeInRedis: 218 };
/** Bytes of an event of 225 bytes on its way: through Redis, and to a connection. */
const LENGTH = { envelope: 360, frame: 260 };
/** Chosen, not measured: shares of a core and of a network of 10 Gbit/s, and the limits of a process. */
const LIMITS = { busy: 0.7, bytesPerSecond: 0.7 * 1.25e9, connectionsOfNode: 15_000, heartbeatSeconds: 15 };

interface Scenario {
  readonly name: string;
  readonly connections: number;
  readonly postsPerSecond: number;
  /** Whether each post has a separate request. */
  readonly isPostedByRequest?: true;
  readonly channels: number;
  /** How many connections receive each post. */
  readonly receivers: number;
  /** How many of this many nodes listen to a channel. */
  readonly listening: (nodes: number) => number;
}

/** How many nodes hold this many connections, each on any of the nodes. */
const anywhere = (connections: number) => (nodes: number) => nodes * (1 - (1 - 1 / nodes) ** connections);

const SCENARIOS: readonly Scenario[] = [
  {
    name: '1 M connections, each posts once a minute to a room of 50',
    connections: 1e6,
    postsPerSecond: 1e6 / 60,
    isPostedByRequest: true,
    channels: 1e6 / 50,
    receivers: 50,
    listening: anywhere(50),
  },
  {
    name: '1 M connections, each posts once a second to a room of 50',
    connections: 1e6,
    postsPerSecond: 1e6,
    isPostedByRequest: true,
    channels: 1e6 / 50,
    receivers: 50,
    listening: anywhere(50),
  },
  {
    name: '1 M connections, one channel for all, 10 posts/s',
    connections: 1e6,
    postsPerSecond: 10,
    channels: 1,
    receivers: 1e6,
    listening: (nodes) => nodes,
  },
  {
    name: '1 M connections, a channel each, one post a minute to each',
    connections: 1e6,
    postsPerSecond: 1e6 / 60,
    channels: 1e6,
    receivers: 1,
    listening: () => 1,
  },
  {
    name: '100 k posts/s between servers, 100 k channels, 2 nodes listen to each',
    connections: 0,
    postsPerSecond: 1e5,
    channels: 1e5,
    receivers: 0,
    listening: () => 2,
  },
  {
    name: '1 M posts/s between servers, 100 k channels, 2 nodes listen to each',
    connections: 0,
    postsPerSecond: 1e6,
    channels: 1e5,
    receivers: 0,
    listening: () => 2,
  },
];

/** The load of each of this many nodes, and of Redis. */
function loadOf(scenario: Scenario, nodes: number) {
  const { connections, postsPerSecond, isPostedByRequest, channels, receivers } = scenario;
  const listening = scenario.listening(nodes);
  const forPost =
    CPU.post + (isPostedByRequest === true ? CPU.request : 0) + listening * CPU.message + receivers * CPU.delivery;
  const cpu = postsPerSecond * forPost + (connections / LIMITS.heartbeatSeconds) * CPU.heartbeat;
  const memory = connections * MEMORY.connection + channels * listening * MEMORY.channelOfNode;
  return {
    cpu: cpu / nodes,
    sent: (postsPerSecond * receivers * LENGTH.frame) / nodes,
    memory: MEMORY.node + memory / nodes,
    redisCpu: postsPerSecond * (CPU.publish + listening * CPU.publishToNode),
    mastersCpu: postsPerSecond * (CPU.publishSharded + listening * CPU.publishToNode),
    redisSent: postsPerSecond * listening * LENGTH.envelope,
    redisMemory: channels * listening * MEMORY.channelOfNodeInRedis,
  };
}

/** A row of the table. */
function describe(scenario: Scenario): readonly (string | number)[] {
  const forConnections = Math.max(2, Math.ceil(scenario.connections / LIMITS.connectionsOfNode));
  let nodes = forConnections;
  while (loadOf(scenario, nodes).cpu > LIMITS.busy) nodes++;
  const { cpu, memory, sent, redisCpu, mastersCpu, redisMemory, redisSent } = loadOf(scenario, nodes);
  const isOneEnough = redisCpu <= LIMITS.busy && redisSent <= LIMITS.bytesPerSecond;
  const masters = Math.ceil(Math.max(mastersCpu / LIMITS.busy, redisSent / LIMITS.bytesPerSecond));
  return [
    scenario.name,
    `${nodes}, for ${nodes > forConnections || scenario.connections === 0 ? 'CPU' : 'connections'}`,
    percent(cpu),
    megabytes(memory),
    megabytes(sent),
    percent(redisCpu),
    megabytes(redisMemory),
    megabytes(redisSent),
    isOneEnough ? 'yes' : `NO: ${masters} masters`,
  ];
}

function percent(share: number): string {
  return `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}

const columns = [
  'scenario',
  'nodes',
  'CPU of a node',
  'memory of a node',
  'a node sends, each second',
  'CPU of Redis',
  'memory of Redis',
  'Redis sends, each second',
  'one Redis is enough',
];
for (const cells of [columns, columns.map((_, place) => (place === 0 ? '---' : '--:')), ...SCENARIOS.map(describe)])
  console.log(`| ${cells.join(' | ')} |`);
