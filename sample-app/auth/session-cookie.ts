import type { Request, Response } from 'express';
import { SIGN_IN_LIFETIME_MS } from './sign-ins.service.js';

const NAME = 'messaging_sample';
// Out of reach for scripts, and never sent along by another site.
const OPTIONS = { httpOnly: true, sameSite: 'strict', path: '/' } as const;

export function readSessionCookie(request: Request): string | undefined {
  const cookies = request.headers.cookie?.split(';').map((cookie) => cookie.trim()) ?? [];
  return cookies.find((cookie) => cookie.startsWith(`${NAME}=`))?.slice(NAME.length + 1);
}

export function setSessionCookie(response: Response, token: string): void {
  response.cookie(NAME, token, { ...OPTIONS, secure: response.req.secure, maxAge: SIGN_IN_LIFETIME_MS });
}

export function clearSessionCookie(response: Response): void {
  response.clearCookie(NAME, OPTIONS);
}
