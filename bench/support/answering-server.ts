// A stateless server that answers each request with a stream, in a separate process: forked with its kind,
// `node` or `Nest`. It shows for how long 5,000 simultaneous requests alone block the event loop.
import 'reflect-metadata';
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { Body, Controller, Post, Res } from '@nestjs/common';
import { startServer } from './application.js';
import { answerCalls } from './pinned-process.js';
import { longestTurnMs, watch } from './turns.js';

interface Opening {
  readonly channels: readonly { readonly channel: string }[];
}

@Controller('messages')
class Answers {
  @Post()
  answer(@Body() opening: Opening, @Res() response: ServerResponse): void {
    ready(response, opening);
  }
}

const port = process.argv[2] === 'Nest' ? (await startServer({ controllers: [Answers] })).port : await startNode();
const calls = { port: () => port, watch, longestTurnMs };

/** The functions that such a server offers. */
export type AnsweringCalls = typeof calls;

answerCalls(calls);

async function startNode(): Promise<number> {
  const server = createServer((request, response) => {
    void text(request).then((body) => ready(response, JSON.parse(body) as Opening));
  });
  server.listen({ port: 0, host: '127.0.0.1', backlog: 10_000 });
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/** As the gateway sends it, for channels without positions. */
function ready(response: ServerResponse, { channels }: Opening): void {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.write(`event: messaging:ready\ndata: ${JSON.stringify({ channels })}\n\n`);
}
