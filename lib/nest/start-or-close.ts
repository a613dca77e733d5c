import type { Hub } from '../core/hub.js';

/**
 * Takes a step of an application's start. If it fails, the hub is closed: Nest calls no hooks of an application that has failed
 * to start.
 *
 * @throws (rejects) what the step throws
 */
export async function startOrClose<T>(hub: Hub, step: () => T | Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    await hub.close();
    throw error;
  }
}
