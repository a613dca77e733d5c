import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { OnMessage } from 'nestjs-messaging';
import { Settings } from '../settings.js';
import type { SignedInUser } from './signed-in-user.js';
import { SignOuts, type SignedOut } from './signed-out.message.js';
import { readSigned, sign } from './signed-value.js';

export const SIGN_IN_LIFETIME_MS = 12 * 60 * 60 * 1000;

/** Sign-ins live in signed cookies, so that every server knows them; what has to be kept is which have ended. */
@Injectable()
export class SignInsService {
  /** When the cookies of ended sign-ins expire, by authId. */
  private readonly ended = new Map<string, number>();
  /** As people write their names, by userId; whoever is connected here has been read here. */
  private readonly names = new Map<string, { readonly name: string; readonly expiresAt: number }>();

  constructor(private readonly settings: Settings) {}

  /** Names that differ only in case or form are one user's. */
  userIdOf(name: string): string {
    return name.normalize('NFKC').toLowerCase();
  }

  create(name: string): SignedInUser {
    const expiresAt = Date.now() + SIGN_IN_LIFETIME_MS;
    return { userId: this.userIdOf(name), authId: randomUUID(), name, expiresAt };
  }

  toToken(user: SignedInUser): string {
    return sign(user, this.settings.sessionSecret);
  }

  /** Who a token was given to, unless it is forged, expired or signed out. */
  read(token: string): SignedInUser | undefined {
    const user = readSigned(token, this.settings.sessionSecret) as SignedInUser | undefined;
    if (user === undefined || user.expiresAt < Date.now() || this.ended.has(user.authId)) return undefined;
    this.names.set(user.userId, user);
    return user;
  }

  /** The name of somebody who is signed in. */
  nameOf(userId: string): string {
    return this.names.get(userId)?.name ?? userId;
  }

  @OnMessage(SignOuts)
  noteEnd({ authId, expiresAt }: SignedOut): void {
    const now = Date.now();
    for (const [id, expiry] of this.ended) if (expiry < now) this.ended.delete(id);
    for (const [id, sighting] of this.names) if (sighting.expiresAt < now) this.names.delete(id);
    this.ended.set(authId, expiresAt);
  }
}
