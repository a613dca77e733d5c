import { Injectable, Optional, type OnApplicationBootstrap } from '@nestjs/common';
import type { Gap } from '../core/gap.js';
import { whenHeard } from '../core/heard.js';
import { Hub } from '../core/hub.js';
import type { Listener } from '../core/listener.js';
import type { Session } from '../core/session.js';
import type { AnyListenableChannel } from '../protocol/channel.js';
import { DecoratedMethods, type DecoratedMethod } from './decorated-methods.js';
import { LocalSessions } from './local-sessions.js';
import { gapChannelsOf } from './on-gap.decorator.js';
import { startOrClose } from './start-or-close.js';

/** What a request-scoped `@OnGap` handler finds under Nest's `REQUEST`. */
interface GapRequest {
  readonly gap: Gap;
  /** Closes when the handler has returned and its promise has settled. */
  readonly session: Session;
}

/** Tells the methods decorated with `@OnGap` of losses. */
@Injectable()
export class GapHandlers implements OnApplicationBootstrap {
  private readonly findNew: () => DecoratedMethod<AnyListenableChannel>[];

  constructor(
    private readonly hub: Hub,
    private readonly methods: DecoratedMethods,
    @Optional() private readonly local?: LocalSessions,
  ) {
    this.findNew = methods.finder(gapChannelsOf);
  }

  /**
   * Resolves when losses would be known, unless other servers cannot be reached.
   *
   * @throws ConfigurationError if channels or classes contradict each other
   */
  async onApplicationBootstrap(): Promise<void> {
    const listeners = await startOrClose(this.hub, () => this.attachNew());
    this.methods.whenLoaded(() => whenHeard(this.hub, this.attachNew()));
    await whenHeard(this.hub, listeners);
  }

  /** Listens for the methods that were not there the last time. */
  private attachNew(): Listener[] {
    return this.findNew().flatMap((method) => method.marks.map((channel) => this.attach(channel, method)));
  }

  private attach(channel: AnyListenableChannel, method: DecoratedMethod<unknown>): Listener {
    const { hub } = this;
    return hub.tap(hub.heard(channel), () => {}, hub.root, method.label, { onGap: (gap) => this.tell(gap, method) });
  }

  private async tell(gap: Gap, { wrapper, method, isStatic }: DecoratedMethod<unknown>): Promise<void> {
    const request: GapRequest = { gap, session: this.hub.sessions.open() };
    const { local } = this;
    const call = async (): Promise<void> => {
      const instance = isStatic
        ? (wrapper.instance as object)
        : (await this.methods.instanceFor(wrapper, request)).instance;
      await (instance as Record<string, (gap: Gap) => unknown>)[method]!(gap);
    };
    try {
      await (local === undefined ? call() : local.run(request, call));
    } finally {
      request.session.close();
    }
  }
}
