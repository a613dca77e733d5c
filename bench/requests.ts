// What it costs a request, in the server's CPU time, that its controller has SessionMessages: in both scopes
// and as a parameter, against a plain singleton and against Nest's own price for request scope.
import type { BenchOptions } from './run.js';
import { printTable, takeSamples, type Case, type Goal, type Samples } from './support/compare.js';
import { REQUEST_VARIANTS, type RequestVariant } from './support/request-variants.js';
import { ServerProcess, type Adapter } from './support/server-process.js';

const ADAPTERS: readonly Adapter[] = ['Express', 'Fastify'];
// Two processes of the same program differ by some per cent for as long as they live.
const GENERATIONS = 4;
const ROUNDS = 6;
const WARM_UP_REQUESTS = 6_000;
const REQUESTS = 2_000;

const GOALS: Partial<Record<RequestVariant, Goal>> = {
  'scope request': { base: 'empty request-scoped provider', ratio: 1.05 },
  'scope async-local': { base: 'plain', extra: 15 },
};

interface ServedCase extends Case {
  readonly server: ServerProcess;
}

export async function run({ rounds = ROUNDS }: BenchOptions): Promise<void> {
  for (const adapter of ADAPTERS) {
    const samples: Samples = new Map();
    for (let generation = 0; generation < GENERATIONS; generation++) {
      for (const [name, values] of await measureGeneration(adapter, rounds)) {
        samples.set(name, [...(samples.get(name) ?? []), ...values]);
      }
    }
    printTable(adapter, 'µs of CPU', casesFor(), samples);
  }
}

function casesFor(): (Case & { readonly name: RequestVariant })[] {
  return (Object.keys(REQUEST_VARIANTS) as RequestVariant[]).map((name) => {
    const goal = GOALS[name];
    return goal === undefined ? { name } : { name, goal };
  });
}

async function measureGeneration(adapter: Adapter, rounds: number): Promise<Samples> {
  const cases: ServedCase[] = [];
  try {
    for (const served of casesFor()) {
      const server = await ServerProcess.start(served.name, adapter);
      cases.push({ ...served, server });
      await server.cpuPerRequest(WARM_UP_REQUESTS);
    }
    return await takeSamples({ cases, rounds, measure: ({ server }) => server.cpuPerRequest(REQUESTS) });
  } finally {
    for (const { server } of cases) await server.stop();
  }
}
