// The cost of SessionMessages in a controller for a request, in the server's CPU time: in both scopes
// and as a parameter, against a plain singleton and against Nest's own price for request scope.
import type { BenchOptions } from './run.js';
import { compare } from './support/compare.js';
import { REQUEST_VARIANTS, type RequestVariant } from './support/request-variants.js';
import { ServerProcess, type Adapter } from './support/server-process.js';
import type { Case, Goal } from './support/table.js';

const ADAPTERS: readonly Adapter[] = ['Express', 'Fastify'];
const ROUNDS = 6;
const WARM_UP_REQUESTS = 8_000;
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
    const cases: ServedCase[] = [];
    try {
      for (const name of Object.keys(REQUEST_VARIANTS) as RequestVariant[]) {
        const goal = GOALS[name];
        cases.push({ name, ...(goal && { goal }), server: await ServerProcess.start(name, adapter) });
      }
      for (const { server } of cases) await server.cpuPerRequest(WARM_UP_REQUESTS);
      await compare({
        title: adapter,
        unit: 'µs of CPU',
        cases,
        rounds,
        measure: ({ server }) => server.cpuPerRequest(REQUESTS),
      });
    } finally {
      for (const { server } of cases) await server.stop();
    }
  }
}
