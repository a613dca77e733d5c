import { describe, expect, test } from '@jest/globals';
import { SseEvent } from '../../../lib/sse/sse-event.js';

describe('An event with its own name or id', () => {
  test.each([
    [{ event: 'error' }, 'option "event" must be another name, since every EventSource has events of this name'],
    [{ event: 'open' }, 'option "event" must be another name'],
    [{ event: 'messaging:end' }, 'option "event" must be a string without CR, LF and NUL that does not begin with'],
    [{ event: 'a\nb' }, 'option "event" must be a string without CR, LF and NUL'],
    [{ event: 7 }, 'option "event" must be a string'],
    [{ id: 'messaging:end' }, 'option "id" must be a string without CR, LF and NUL that does not begin with'],
    [{ id: 'a\0b' }, 'option "id" must be a string'],
    [{ id: 7 }, 'option "id" must be a string'],
    [{ retryMs: -1 }, 'option "retryMs" must be a whole number'],
    [{ type: 'step' }, 'unknown option "type"; the options are: id, event, retryMs'],
  ])('cannot be made with %j', (options, text) => {
    expect(() => new SseEvent('message', options as never)).toThrow(text);
  });

  test('may have any other name and id, or none', () => {
    expect(() => new SseEvent(1, { id: '', event: 'message', retryMs: 0 })).not.toThrow();
    expect(new SseEvent('x').options).toEqual({});
  });
});
