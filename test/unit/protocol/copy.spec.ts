import { afterEach, describe, expect, test } from '@jest/globals';
import { COPY, fromOtherCopy } from '../../../lib/protocol/copy.js';
import { defineChannel } from '../../../lib/protocol/channel.js';
import { sourceRef } from '../../../lib/protocol/source.js';

/** Has errors of this process describe their stacks as other engines do. */
function stacksLike(format: (place: string, name: string) => string) {
  Error.prepareStackTrace = (_, frames) =>
    frames
      .map((frame) => {
        const place = `${frame.getScriptNameOrSourceURL()}:${frame.getLineNumber()}:${frame.getColumnNumber()}`;
        return format(place, frame.getFunctionName() ?? '');
      })
      .join('\n');
}

describe('A value of this copy of the package', () => {
  const original = Object.getOwnPropertyDescriptor(Error, 'prepareStackTrace');
  afterEach(() => {
    if (original) Object.defineProperty(Error, 'prepareStackTrace', original);
    else Reflect.deleteProperty(Error, 'prepareStackTrace');
  });

  const engines = {
    Chromium: undefined,
    'Firefox and Safari': (place: string, name: string) => `${name}@${place}`,
  };
  test.each(Object.entries(engines))('is not mistaken for one of another copy in %s', (_, format) => {
    if (format) stacksLike(format);
    for (const value of [sourceRef('Room', 1), defineChannel('copies'), defineChannel('copies/:id')]) {
      expect(fromOtherCopy(value)).toBeUndefined();
    }
  });

  test.each(Object.entries(engines))('names the file of this copy beside that of another one in %s', (_, format) => {
    if (format) stacksLike(format);
    const other = { [COPY]: 'Channel (at http://h/other.js:1:2)' };
    expect(fromOtherCopy(other)).toMatch(
      /^Channel \(at http:\/\/h\/other.js:1:2\) and nestjs-messaging \(.*\/protocol\/copy\.ts:\d+:\d+\)+ are two copies/,
    );
  });
});
