import { Injectable, type BeforeApplicationShutdown, type OnApplicationBootstrap } from '@nestjs/common';
import { MessagingService } from 'nestjs-messaging';
import { map, distinctUntilChanged, type Subscription } from 'rxjs';
import { ServerStatus, ServerStatuses } from './server-status.messages.js';

const REPEAT_EVERY_MS = 2_000;

/** Knows whether this server hears the others, and tells its pages. */
@Injectable()
export class ServerStatusService implements OnApplicationBootstrap, BeforeApplicationShutdown {
  /** Whether there is a Redis between the servers that this one cannot reach. */
  isCutOff = false;
  private changes: Subscription | undefined;
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly messaging: MessagingService) {}

  onApplicationBootstrap(): void {
    // Without a Redis the status is always `ready`: a single server is cut off from nobody.
    const isCutOff = this.messaging.status.pipe(map(({ state }) => state !== 'ready'));
    this.changes = isCutOff.pipe(distinctUntilChanged()).subscribe((value) => {
      this.isCutOff = value;
      this.tell();
    });
    // A page learns the status from the header of its stream. The repetition is for a change in between.
    this.timer = setInterval(() => this.tell(), REPEAT_EVERY_MS).unref();
  }

  beforeApplicationShutdown(): void {
    this.changes?.unsubscribe();
    clearInterval(this.timer);
  }

  private tell(): void {
    void this.messaging.postMessage(ServerStatuses, new ServerStatus(this.isCutOff));
  }
}
