import { Injectable, type BeforeApplicationShutdown, type OnApplicationBootstrap } from '@nestjs/common';
import { MessagingService, OnMessage } from 'nestjs-messaging';
import { SignOuts, type SignedOut } from '../auth/signed-out.message.js';
import {
  ServerReport,
  ServerReports,
  StatusChanges,
  UserUpdate,
  UserUpdates,
  type Person,
  type StatusChange,
} from './people.messages.js';

const REPORT_EVERY_MS = 2_000;
/** A server that is silent for this long is gone, and its people with it. */
const FORGET_AFTER_MS = 7_000;
/** Who reloads the page, or has lost the network for a moment, has not left. */
const GRACE_MS = 3_000;

interface Visitor {
  person: Person;
  openPages: number;
  goodbye?: NodeJS.Timeout | undefined;
}

/**
 * Who is online, on all servers.
 *
 * Each server reports who is connected to it: at once when that changes, and every few seconds. A report is the
 * whole truth about its server, so one that was lost, a server that crashed and a server that has just started all
 * need no code of their own.
 */
@Injectable()
export class PeopleService implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly visitors = new Map<string, Visitor>();
  private readonly reports = new Map<string, { people: readonly Person[]; heardAt: number }>();
  private online: ReadonlyMap<string, Person> = new Map();
  private timer: NodeJS.Timeout | undefined;
  private isClosing = false;

  // Not SessionMessages: what happens here is not part of any one request.
  constructor(private readonly messaging: MessagingService) {}

  onApplicationBootstrap(): void {
    this.report();
    this.timer = setInterval(() => this.report(), REPORT_EVERY_MS).unref();
  }

  beforeApplicationShutdown(): void {
    this.isClosing = true;
    clearInterval(this.timer);
    for (const { goodbye } of this.visitors.values()) clearTimeout(goodbye);
    this.visitors.clear();
    this.report();
  }

  everybody(): readonly Person[] {
    return [...this.online.values()];
  }

  isOnline(userId: string): boolean {
    return this.online.has(userId);
  }

  /** Somebody has opened a page. */
  enter({ userId, name }: Pick<Person, 'userId' | 'name'>): void {
    const visitor = this.visitors.get(userId);
    if (visitor !== undefined) {
      clearTimeout(visitor.goodbye);
      visitor.openPages++;
      return;
    }
    // Perhaps known from another server, with a status.
    const person = this.online.get(userId) ?? { userId, name, status: '', statusAt: 0 };
    this.visitors.set(userId, { person, openPages: 1 });
    this.report();
  }

  /** A page has closed. */
  leave(userId: string, { forGood }: { forGood: boolean }): void {
    const visitor = this.visitors.get(userId);
    if (visitor === undefined || --visitor.openPages > 0) return;
    if (forGood) this.remove(userId);
    else visitor.goodbye = setTimeout(() => this.remove(userId), GRACE_MS).unref();
  }

  /** Whoever signs out without an open page does not have to be waited for. */
  @OnMessage(SignOuts)
  noteSignOut({ userId }: SignedOut): void {
    if (this.visitors.get(userId)?.openPages === 0) this.remove(userId);
  }

  @OnMessage(StatusChanges)
  changeStatus({ userId, status, at }: StatusChange): void {
    const visitor = this.visitors.get(userId);
    if (visitor === undefined) return;
    visitor.person = { ...visitor.person, status, statusAt: at };
    this.report();
  }

  @OnMessage(ServerReports)
  hear({ server, people }: ServerReport): void {
    // The last report is for the others: the pages of this server are about to reconnect, and nobody has left.
    if (this.isClosing) return;
    const isNew = !this.reports.has(server);
    this.reports.set(server, { people, heardAt: Date.now() });
    this.refresh();
    // A server that has just started shall not have to wait for the next round.
    if (isNew && server !== this.messaging.node) this.report();
  }

  private remove(userId: string): void {
    clearTimeout(this.visitors.get(userId)?.goodbye);
    this.visitors.delete(userId);
    this.report();
  }

  private report(): void {
    const people = [...this.visitors.values()].map(({ person }) => person);
    void this.messaging.postMessage(ServerReports, new ServerReport(this.messaging.node, people), { scope: 'auto' });
  }

  /** Puts the reports together, and tells the pages of this server what is new. */
  private refresh(): void {
    const before = this.online;
    this.online = this.combineReports();
    for (const [userId, person] of this.online) {
      const known = before.get(userId);
      if (known === undefined) this.tell(new UserUpdate('joined', person));
      else if (known.status !== person.status) this.tell(new UserUpdate('status', person));
    }
    for (const [userId, person] of before) {
      if (!this.online.has(userId)) this.tell(new UserUpdate('left', person));
    }
  }

  private combineReports(): Map<string, Person> {
    const online = new Map<string, Person>();
    for (const [server, { people, heardAt }] of this.reports) {
      if (Date.now() - heardAt > FORGET_AFTER_MS) this.reports.delete(server);
      else for (const person of people) online.set(person.userId, laterOf(person, online.get(person.userId)));
    }
    return online;
  }

  private tell(update: UserUpdate): void {
    void this.messaging.postMessage(UserUpdates, update);
  }
}

function laterOf(one: Person, other: Person | undefined): Person {
  return other !== undefined && other.statusAt > one.statusAt ? other : one;
}
