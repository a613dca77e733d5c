import { Injectable, type BeforeApplicationShutdown, type OnApplicationBootstrap } from '@nestjs/common';
import { ClientConnectionChanges, MessagingService, OnMessage, type ClientConnectionChange } from 'nestjs-messaging';
import { ServerStatusService } from '../servers/server-status.service.js';
import { SignInsService } from '../auth/sign-ins.service.js';
import { SignOuts, type SignedOut } from '../auth/signed-out.message.js';
import { UserUpdate, UserUpdates, type Person } from './people.messages.js';
import {
  ServerReport,
  ServerReports,
  StatusChanges,
  type StatusChange,
  type Visitor,
} from './server-report.messages.js';

const REPORT_EVERY_MS = 2_000;
/** A server that is silent for this long is gone, and its people with it. */
const FORGET_AFTER_MS = 7_000;
/** Who reloads the page, or has lost the network for a moment, has not left. */
const GRACE_MS = 3_000;

interface Visit {
  visitor: Visitor;
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
  private readonly visits = new Map<string, Visit>();
  private readonly reports = new Map<string, { visitors: readonly Visitor[]; heardAt: number }>();
  private online: ReadonlyMap<string, Visitor> = new Map();
  private timer: NodeJS.Timeout | undefined;
  private isClosing = false;

  // Not SessionMessages: what happens here is not part of any one request.
  constructor(
    private readonly messaging: MessagingService,
    private readonly link: ServerStatusService,
    private readonly signIns: SignInsService,
  ) {}

  onApplicationBootstrap(): void {
    this.report();
    this.timer = setInterval(() => this.report(), REPORT_EVERY_MS).unref();
  }

  beforeApplicationShutdown(): void {
    this.isClosing = true;
    clearInterval(this.timer);
    for (const { goodbye } of this.visits.values()) clearTimeout(goodbye);
    this.visits.clear();
    this.report();
  }

  everybody(): readonly Person[] {
    return [...this.online.values()].map(({ userId, name, status }) => ({ userId, name, status }));
  }

  isOnline(userId: string): boolean {
    return this.online.has(userId);
  }

  /** The library tells of each page that connects to this server, and of each one that has gone. */
  @OnMessage(ClientConnectionChanges)
  track({ kind, auth, reason }: ClientConnectionChange): void {
    // The guard of the gateway lets nobody else in.
    const userId = String(auth!.userId);
    if (kind === 'connected') this.enter(userId);
    // Signed out: gone for good. Else it may be a reload.
    else this.leave(userId, { forGood: reason === 'revoked' });
  }

  /** Whoever signs out without an open page does not have to be waited for. */
  @OnMessage(SignOuts)
  noteSignOut({ userId }: SignedOut): void {
    if (this.visits.get(userId)?.openPages === 0) this.remove(userId);
  }

  @OnMessage(StatusChanges)
  changeStatus({ userId, status, at }: StatusChange): void {
    const visit = this.visits.get(userId);
    if (visit === undefined) return;
    visit.visitor = { ...visit.visitor, status, statusAt: at };
    this.report();
  }

  @OnMessage(ServerReports)
  hear({ server, visitors }: ServerReport): void {
    // The last report is for the others: the pages of this server are about to reconnect, and nobody has left.
    if (this.isClosing) return;
    const isNew = !this.reports.has(server);
    this.reports.set(server, { visitors, heardAt: Date.now() });
    this.refresh();
    // A server that has just started shall not have to wait for the next round.
    if (isNew && server !== this.messaging.node) this.report();
  }

  private enter(userId: string): void {
    const visit = this.visits.get(userId);
    if (visit !== undefined) {
      clearTimeout(visit.goodbye);
      visit.openPages++;
      return;
    }
    // Perhaps known from another server, with a status.
    const visitor = this.online.get(userId) ?? { userId, name: this.signIns.nameOf(userId), status: '', statusAt: 0 };
    this.visits.set(userId, { visitor, openPages: 1 });
    this.report();
  }

  private leave(userId: string, { forGood }: { forGood: boolean }): void {
    const visit = this.visits.get(userId);
    if (visit === undefined || --visit.openPages > 0) return;
    if (forGood) this.remove(userId);
    else visit.goodbye = setTimeout(() => this.remove(userId), GRACE_MS).unref();
  }

  private remove(userId: string): void {
    clearTimeout(this.visits.get(userId)?.goodbye);
    this.visits.delete(userId);
    this.report();
  }

  private report(): void {
    const visitors = [...this.visits.values()].map(({ visitor }) => visitor);
    void this.messaging.postMessage(ServerReports, new ServerReport(this.messaging.node, visitors), { scope: 'auto' });
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

  private combineReports(): Map<string, Visitor> {
    const online = new Map<string, Visitor>();
    for (const [server, report] of this.reports) {
      // Silence means nothing while no other server can be heard: nobody is said to have left.
      if (this.link.isCutOff) report.heardAt = Date.now();
      if (Date.now() - report.heardAt > FORGET_AFTER_MS) this.reports.delete(server);
      else
        for (const visitor of report.visitors) online.set(visitor.userId, laterOf(visitor, online.get(visitor.userId)));
    }
    return online;
  }

  private tell(update: UserUpdate): void {
    void this.messaging.postMessage(UserUpdates, update);
  }
}

function laterOf(one: Visitor, other: Visitor | undefined): Visitor {
  return other !== undefined && other.statusAt > one.statusAt ? other : one;
}
