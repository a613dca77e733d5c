/**
 * Calls back when it is likely that a connection can be made that could not be before: the browser is online again, or
 * a page that may have been frozen is looked at. Where there is no page, as in Node, nothing calls.
 *
 * @returns ends that
 */
export function onWakeUp(wake: () => void): () => void {
  const page = globalThis.document as Document | undefined;
  const handle = ({ type }: Event): void => {
    if (type === 'online' || page?.visibilityState !== 'hidden') wake();
  };
  const each = (change: 'addEventListener' | 'removeEventListener'): void => {
    for (const type of ['online', 'pageshow']) globalThis[change]?.(type, handle);
    for (const type of ['visibilitychange', 'resume']) page?.[change](type, handle);
  };
  each('addEventListener');
  return () => each('removeEventListener');
}
