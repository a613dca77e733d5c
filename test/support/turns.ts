/** How many turns of the event loop others get until something is done. */
export async function turnsUntil(done: Promise<unknown>): Promise<number> {
  let turns = 0;
  const over = new AbortController();
  const others = (async () => {
    for (; !over.signal.aborted; turns++) await new Promise((resolve) => setImmediate(resolve));
  })();
  try {
    await done;
  } finally {
    over.abort();
    await others;
  }
  return turns;
}
