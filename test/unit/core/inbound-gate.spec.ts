import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { InboundGate } from '../../../lib/core/inbound-gate.js';
import { OutboundCheck } from '../../../lib/core/outbound-check.js';
import { MemoryBroker } from '../../../lib/transport/memory-broker.js';
import { MemoryTransport } from '../../../lib/transport/memory-transport.js';
import { RecordingReporter } from '../../support/recording-reporter.js';

const BELL = 'bell';
const ignore = (): void => {};

afterEach(() => void jest.useRealTimers());

/** A gate, shut until the latest check passes. What gets through is noted; each message takes some milliseconds. */
async function shutGate(takesMs = 0) {
  jest.useFakeTimers({ doNotFake: ['setImmediate', 'nextTick', 'queueMicrotask'] });
  const reporter = new RecordingReporter();
  const gate = new InboundGate(BELL, reporter);
  const seen: string[] = [];
  let during: (message: string) => void = ignore;
  const note = (what: string): void => {
    seen.push(what);
    jest.advanceTimersByTime(takesMs);
    during(what);
  };
  gate.attach({
    receive: (payload) => note(payload),
    lose: (subscription, reason) => note(`${subscription} lost: ${reason}`),
    reject: (channel) => note(`${channel} rejected`),
  });
  const transport = new MemoryTransport(new MemoryBroker());
  await gate.connect(transport, new OutboundCheck(BELL, reporter));
  await transport.subscribe('news');
  const checks: (() => void)[] = [];
  void gate.guard(
    () => new Promise((resolve) => checks.push(resolve)),
    () => false,
  );
  return {
    gate,
    seen,
    checks,
    reporter,
    /** Called with each message that gets through. */
    during: (call: (message: string) => void) => (during = call),
    arrive: (...payloads: string[]) => payloads.forEach((payload) => transport.deliver('news', payload)),
    pass: async () => {
      checks.at(-1)!();
      await Promise.resolve();
      await Promise.resolve();
    },
  };
}

const numbered = (count: number, from = 0) => Array.from({ length: count }, (_, index) => String(from + index));

describe('A gate that opens', () => {
  test('delivers what it held in order, for 10 ms a turn, and what arrives meanwhile behind it', async () => {
    const { gate, seen, arrive, pass } = await shutGate(1);
    arrive(...numbered(25));
    const passed = gate.passed();
    await pass();
    expect(seen).toEqual(numbered(10));
    arrive(...numbered(3, 25));
    await nextTurn();
    expect(seen).toEqual(numbered(20));
    await nextTurn();
    expect(seen).toEqual(numbered(28));
    await passed;
    arrive('direct');
    expect(seen.at(-1)).toBe('direct');
  });

  test('delivers only what it held before the bell rang, and the rest after the next check', async () => {
    const { gate, seen, checks, arrive, pass } = await shutGate(4);
    arrive(...numbered(5));
    await pass();
    expect(seen).toEqual(numbered(3));
    gate.ring();
    arrive(...numbered(2, 5));
    await nextTurn();
    expect(seen).toEqual(numbered(5));
    expect(checks).toHaveLength(2);
    await pass();
    expect(seen).toEqual(numbered(7));
  });

  test.each<[string, (gate: InboundGate) => void, string[]]>([
    ['its link is interrupted', (gate) => gate['interrupted'](), numbered(3)],
    ['it closes', (gate) => gate.close(), []],
  ])('delivers nothing more in that turn if %s meanwhile', async (_, happen, later) => {
    const { gate, seen, during, arrive, pass } = await shutGate();
    arrive(...numbered(5));
    during((message) => message === '1' && happen(gate));
    await pass();
    await nextTurn();
    expect(seen).toEqual(['0', '1']);
    await pass();
    expect(seen.slice(2)).toEqual(later.map((message) => String(Number(message) + 2)));
  });

  test('tells losses between what it held before and what it could hold later', async () => {
    const { seen, arrive, pass, during } = await shutGate();
    arrive(...numbered(10_003));
    let arrived = false;
    during(() => {
      if (!arrived) setImmediate(() => arrive('later'));
      arrived = true;
      jest.advanceTimersByTime(5);
    });
    await pass();
    during(ignore);
    while (seen.at(-1) !== 'later') await nextTurn();
    expect(seen).toEqual([...numbered(10_000), 'news lost: broker', 'later']);
  });

  test('delivers the rest if a message cannot be delivered', async () => {
    const { seen, arrive, pass, during, reporter } = await shutGate();
    arrive(...numbered(3));
    during((message) => {
      if (message === '1') throw new Error('broken');
    });
    await pass();
    expect(seen).toEqual(numbered(3));
    expect(reporter.callbackFailures).toHaveLength(1);
  });
});
