import { matchTemplate } from '../protocol/channel-name.js';
import type { ListenerList } from './listener-list.js';

interface Template {
  readonly segments: readonly string[];
  readonly list: ListenerList;
}

/**
 * The templates that are listened to. Grouped by their number of segments, so that a name is compared
 * only with templates that it can match.
 */
export class Templates {
  private readonly bySize = new Map<number, Map<string, Template>>();
  private count = 0;
  /** Changes whenever a template comes or goes. */
  version = 0;

  get isEmpty(): boolean {
    return this.count === 0;
  }

  get(template: string): ListenerList | undefined {
    return this.bySize.get(sizeOf(template))?.get(template)?.list;
  }

  add(list: ListenerList): void {
    const segments = list.name.split('/');
    let group = this.bySize.get(segments.length);
    if (group === undefined) this.bySize.set(segments.length, (group = new Map<string, Template>()));
    group.set(list.name, { segments, list });
    this.count++;
    this.version++;
  }

  remove(list: ListenerList): void {
    const size = sizeOf(list.name);
    const group = this.bySize.get(size);
    if (!group?.delete(list.name)) return;
    this.count--;
    this.version++;
    if (group.size === 0) this.bySize.delete(size);
  }

  /** The lists of all templates that a name is of. */
  match(name: string): ListenerList[] {
    const segments = name.split('/');
    const matched: ListenerList[] = [];
    for (const template of this.bySize.get(segments.length)?.values() ?? []) {
      if (matchTemplate(template.segments, segments)) matched.push(template.list);
    }
    return matched;
  }
}

function sizeOf(name: string): number {
  let size = 1;
  for (let index = name.indexOf('/'); index !== -1; index = name.indexOf('/', index + 1)) size++;
  return size;
}
