import { expect, test } from '@jest/globals';
import { replyText } from '../../../lib/transport/redis-client.js';

test.each([
  [
    "ERR unknown command 'PUBLISH', with args beginning with: 'messaging:|news' '{\"data\":\"secret\nof two lines\"' ",
    "ERR unknown command 'PUBLISH'",
  ],
  ['ERR unknown command `EVALSHA`, with args beginning with: `secret`, ', 'ERR unknown command `EVALSHA`'],
  [
    "NOPERM User x has no permissions to run the 'publish' command",
    "NOPERM User x has no permissions to run the 'publish' command",
  ],
])('An answer of Redis is shown without the arguments of the command: %j', (message, told) => {
  expect(replyText(new Error(message))).toBe(told);
});
