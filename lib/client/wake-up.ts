/** What Chromium tells of the network. */
interface NetworkInformation extends EventTarget {
  /** As `wifi` or `cellular`; on desktops nothing. */
  readonly type?: string;
}

/**
 * Calls back when it is likely that a connection can be made that could not be before, or that one is dead: the browser is
 * online again, the kind of network has changed, or a page that may have been frozen is looked at. Without a page, as in
 * Node, it never calls.
 *
 * @returns ends that
 */
export function onWakeUp(wake: () => void): () => void {
  const page = globalThis.document as Document | undefined;
  const network = (globalThis.navigator as { connection?: NetworkInformation } | undefined)?.connection;
  let kind = network?.type;
  const handle = ({ type }: Event): void => {
    const hasChanged = kind !== (kind = network?.type);
    // The network also tells each time that it is found faster or slower.
    if (hasChanged || type === 'online' || (type !== 'change' && !page?.hidden)) wake();
  };
  const ending = new AbortController();
  const listen = (target: Partial<EventTarget> | undefined, ...types: string[]): void => {
    for (const type of types) target?.addEventListener?.(type, handle, ending);
  };
  listen(globalThis, 'online', 'pageshow');
  listen(page, 'visibilitychange', 'resume');
  listen(network, 'change');
  return () => ending.abort();
}
