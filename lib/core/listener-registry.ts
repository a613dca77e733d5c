import type { ChannelOptions } from '../protocol/channel-definition.js';
import type { Histories } from './histories.js';
import type { Listener } from './listener.js';
import { ListenerList } from './listener-list.js';
import { Templates } from './templates.js';
import type { Transport } from './transport.js';

/**
 * The listeners of all channels and templates. Keeps the transport's interests equal to the names that have listeners.
 */
export class ListenerRegistry {
  private readonly lists = new Map<string, ListenerList>();
  private readonly templates = new Templates<ListenerList>();
  private registrations = 0;

  /** @param histories - present if channels keep histories that other nodes append to as well */
  constructor(
    private readonly transport: Transport | undefined,
    private readonly histories: Histories | undefined,
  ) {}

  get hasTemplates(): boolean {
    return !this.templates.isEmpty;
  }

  get(name: string): ListenerList | undefined {
    return this.lists.get(name);
  }

  getTemplate(template: string): ListenerList | undefined {
    return this.templates.get(template);
  }

  /** The names and templates through which the broker sends messages of a channel. */
  subscriptionsTo(channel: string): string[] {
    const lists = [this.lists.get(channel) ?? [], this.templates.match(channel)].flat();
    return lists.filter(({ interest }) => interest !== undefined).map(({ name }) => name);
  }

  /** The lists of all templates that match a list's channel. */
  templatesOf(list: ListenerList): readonly ListenerList[] {
    // Cached, since comparing the name with templates costs more than a post (bench/local.ts).
    if (list.templatesVersion !== this.templates.version) {
      list.templates = this.templates.match(list.name);
      list.templatesVersion = this.templates.version;
    }
    return list.templates;
  }

  /** The list of a channel. A message needs it while it is being delivered, even without a listener. */
  getOrCreate(name: string): ListenerList {
    let list = this.lists.get(name);
    if (list === undefined) this.lists.set(name, (list = this.create(name)));
    return list;
  }

  /** @param options - from the definition of its channel, if that is known */
  add(listener: Listener, { interop, history }: Readonly<ChannelOptions> = {}): void {
    const list = listener.isTemplate ? this.getOrCreateTemplate(listener.channel) : this.getOrCreate(listener.channel);
    // The definition of exactly this name wins over others, since one room may have its own.
    if (list.definition === undefined || listener.definition?.name === list.name) {
      list.definition = listener.definition ?? list.definition;
      list.plainVersion = 0;
    }
    // A definition that becomes known later may require more.
    const isHeard = this.transport !== undefined && listener.definition?.options.isLocal !== true;
    if (isHeard && (list.interest === undefined || (interop === true && !list.hasInterop))) {
      list.hasInterop = interop === true;
      list.interest = this.transport.subscribe(list.name, { interop });
      list.isOrdered = false;
    }
    if (history !== undefined && list.interest !== undefined && this.histories !== undefined && !list.isOrdered) {
      list.isOrdered = true;
      list.interest = this.histories.listen(list.name, list.interest);
    }
    listener.attach(list, this.registrations++);
  }

  /** Forgets a list without listeners. */
  drop(list: ListenerList): void {
    if (this.lists.get(list.name) === list) this.lists.delete(list.name);
    else this.templates.remove(list);
    if (list.interest !== undefined) {
      this.transport?.unsubscribe(list.name);
      this.histories?.forget(list.name);
    }
    list.interest = undefined;
    list.hasInterop = false;
    list.isOrdered = false;
  }

  private getOrCreateTemplate(template: string): ListenerList {
    let list = this.templates.get(template);
    if (list === undefined) this.templates.add((list = this.create(template)));
    return list;
  }

  private create(name: string): ListenerList {
    return new ListenerList(name, (empty) => {
      // While messages are being delivered or wait, the list still orders the posts of its channel.
      if (!empty.isBusy && !empty.isLeftOver) this.drop(empty);
    });
  }
}
