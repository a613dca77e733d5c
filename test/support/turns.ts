/** Waits for this many turns of the event loop. */
export async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** How many turns of the event loop pass before something is done. */
export async function turnsUntil(done: Promise<unknown>): Promise<number> {
  let count = 0;
  const over = new AbortController();
  const others = (async () => {
    for (; !over.signal.aborted; count++) await new Promise((resolve) => setImmediate(resolve));
  })();
  try {
    await done;
  } finally {
    over.abort();
    await others;
  }
  return count;
}
