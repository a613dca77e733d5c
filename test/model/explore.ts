import { createHash } from 'node:crypto';
import { World, type Budget } from './world.js';

export interface Exploration {
  /** How many worlds have a different future. */
  readonly worlds: number;
  /** The error with the fewest steps, and these steps. */
  readonly wrong?: string;
  readonly steps?: readonly string[];
}

/** Explores every possible course, breadth first. */
export function explore(budget: Budget, maxWorlds = 1_000_000): Exploration {
  const seen = new Set<string>();
  let worlds: [World, Steps][] = [[new World(budget), undefined]];
  while (worlds.length > 0) {
    const next: typeof worlds = [];
    for (const [world, before] of worlds) {
      const count = world.actions().length;
      for (let index = 0; index < count; index++) {
        const other = world.clone();
        const action = other.actions()[index]!;
        action.do();
        const key = createHash('md5').update(other.key).digest('base64');
        if (seen.has(key)) continue;
        seen.add(key);
        const steps = { name: action.name, before };
        const wrong = other.wrong();
        if (wrong !== undefined) return { worlds: seen.size, wrong, steps: list(steps) };
        if (seen.size >= maxWorlds) throw new Error(`more than ${maxWorlds} worlds`);
        next.push([other, steps]);
      }
    }
    worlds = next;
  }
  return { worlds: seen.size };
}

type Steps = { readonly name: string; readonly before: Steps } | undefined;

function list(steps: Steps): string[] {
  return steps === undefined ? [] : [...list(steps.before), steps.name];
}
