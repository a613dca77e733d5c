const LEFT_OPEN_MS = 60_000;

/** Closes a run of Jest with one plain line: `N passed, N failed`. A suite that could not be run counts as a failure. */
export default class SummaryReporter {
  onRunComplete(_contexts, results) {
    const failed = results.numFailedTests + results.numRuntimeErrorTestSuites;
    const skipped = results.numPendingTests + results.numTodoTests;
    console.log(`${results.numPassedTests} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
    // What a test has left open must not hold up whoever waits for the run; it is named, so that it can be found.
    setTimeout(() => {
      console.error(
        `A test has left something open, after a minute still: ${process.getActiveResourcesInfo().join(', ')}`,
      );
      process.exit(failed > 0 ? 1 : 0);
    }, LEFT_OPEN_MS).unref();
  }
}
