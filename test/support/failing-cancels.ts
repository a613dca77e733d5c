/** Ways in which the body of a foreign `fetch`, which an application may make outside of browsers, takes no `cancel()`. */
export const FAILING_CANCELS: [how: string, cancel: () => unknown][] = [
  [
    'throws',
    () => {
      throw new Error('broken');
    },
  ],
  ['returns nothing', () => undefined],
  ['rejects', () => Promise.reject(new Error('broken'))],
];
