import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { compile as compileSvelte } from 'svelte/compiler';
import ts from 'typescript';
import { parseAllDocuments } from 'yaml';

// The code of README, guides and doc comments compiles against the library's sources.
const root = path.resolve(import.meta.dirname, '../..');
const read = (file: string) => readFileSync(path.join(root, file), 'utf8');

/** The names that examples in doc comments assume. */
const PRELUDE = `
import { Controller, Injectable, Module, ParseIntPipe } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { EventPattern, MessagePattern, type MsPattern } from '@nestjs/microservices';
import * as messagingLibrary from 'nestjs-messaging';
import {
  AuthorizeChannel, ClientConnectionChanges, ClientConnections, Ctx, defineChannel, defineMessage, Message, Messages, MessageSource, MessagingModule, MessagingService, OnGap, OnMessage, Payload, revokedAuthenticationChannel, Serializable,
  SessionMessages, sourceRef, Sse, SseEvent, type ClientConnectionChange,
  type ClientContext, type Gap, type MessageContext,
} from 'nestjs-messaging';
import { MessagingClientProxy, MessagingRpcContext, MessagingServer } from 'nestjs-messaging/microservices';
import { Test } from '@nestjs/testing';
import {
  channelLogConformance, ClientInbox, connectClient, createTestMessaging, historyStoreConformance, Inbox, inMemory, MemoryBroker, MemoryTransport,
  MESSAGING_OPTIONS, MessagingTestingModule, recordPosts, RedisProxy, TcpProxy, transportConformance, type ChannelLogUnderTest,
  type HistoryStoreUnderTest, type TransportUnderTest,
} from 'nestjs-messaging/testing';
import { firstValueFrom, lastValueFrom, of, timeout, type Observable } from 'rxjs';
import { Codec } from '../../lib/protocol/codec.js';
import { TypeRegistry } from '../../lib/protocol/type-registry.js';
`;
const FIXTURES = `
class UserUpdate { constructor(readonly id: number, readonly name: string) {} }
class Order { constructor(readonly id: number) {} }
class Price { constructor(readonly share: string, readonly cents: number) {} }
class ChatMessage extends Message { constructor(readonly author: string, readonly text: string) { super(); } }
const UserUpdates = defineChannel('user_updates', UserUpdate);
const Prices = defineChannel('prices', Price, { history: { maxMessages: 100, ttlMs: 60_000 } });
const RoomMessages = defineChannel('rooms/:roomId', ChatMessage);
declare const messages: SessionMessages;
declare const messaging: MessagingService;
declare const client: MessagingClientProxy;
declare const app: import('@nestjs/common').INestApplication;
declare const otherServer: import('@nestjs/common').INestApplication;
declare const job: { signal: AbortSignal; note(update: UserUpdate): void };
declare const myLogs: ChannelLogUnderTest;
declare const myBroker: TransportUnderTest;
declare const myStores: HistoryStoreUnderTest;
declare const test: { each(cases: readonly unknown[]): (name: string, run: (each: { run(): Promise<void> }) => unknown) => void };
declare const repository: { load(): Promise<ReadonlyMap<number, UserUpdate> & { apply(update: UserUpdate): void }> };
declare const names: Map<number, string>;
declare const expect: (value: unknown) => { toEqual(expected: unknown): void };
declare class AppModule {}
declare class Rooms { hasMember(roomId: string, userId: string | number | undefined): Promise<boolean> }
`;

interface Example {
  readonly name: string;
  readonly code: string;
  /** Its place beside the other files of its document. Without one, the block stands alone. */
  readonly path?: string;
}

/** The blocks of a document in one language, by default TypeScript. */
function blocksOf(file: string, language = 'tsx?'): string[] {
  return [...read(file).matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, 'gms'))].map(([, code]) => code!);
}

/** The path in a block's first line, `// server/src/chat.ts`: the block is a file, and others import it. */
function pathOf(block: string): string | undefined {
  return /^\/\/ ([\w./[\]-]+\.tsx?)\n/.exec(block)?.[1];
}

/** The blocks of a document that are files, in a separate folder for the document. */
function filesIn(file: string, index: number): Example[] {
  const files = blocksOf(file).flatMap((code) => {
    const at = pathOf(code);
    return at === undefined ? [] : [{ name: file, code, path: `document-${index}/${at}` }];
  });
  const components = blocksOf(file, 'svelte').map((code, nth) => ({
    name: file,
    code: `import 'svelte';\n${/^<script lang="ts">(.*?)^<\/script>/ms.exec(code)![1]!}`,
    path: `document-${index}/svelte-${nth}.ts`,
  }));
  return [...files, ...components];
}

/** One program from all other blocks of a document, as its reader would write it. */
function document(file: string): Example {
  const blocks = blocksOf(file).filter((block) => pathOf(block) === undefined);
  const imports = new Map<string, Set<string>>();
  const bodies = blocks.map((block) =>
    block.replace(/^import (?:type )?\{([^}]+)\} from '([^']+)';\n/gm, (line, names: string, from: string) => {
      const known = imports.get(from) ?? new Set<string>();
      for (const name of names.split(',').map((given) => given.trim()))
        // Both entries export the same names, so each is imported once.
        if (name && ![...imports.values()].some((others) => others.has(name)))
          known.add(line.startsWith('import type') ? `type ${name}` : name);
      imports.set(from, known);
      return '';
    }),
  );
  // Running code is in a separate function, so that two blocks may each begin with `const app = …`.
  const parts = bodies.map((body, index) => {
    const start = body.search(/^(const \w+ = )?await |^const \w+ = new /m);
    return start < 0 ? body : `${body.slice(0, start)}export async function block${index}() {\n${body.slice(start)}}`;
  });
  const header = [...imports].map(([from, names]) => `import { ${[...names].join(', ')} } from '${from}';`);
  return { name: file, code: [...header, ...parts].join('\n') };
}

/** The examples in doc comments of one source file. */
function docstrings(file: string): Example[] {
  const comments = read(file).match(/\/\*\*.*?\*\//gs) ?? [];
  return comments.flatMap((comment) => {
    const text = comment.replace(/^\s*\* ?/gm, '');
    return [...text.matchAll(/```ts\n(.*?)```/gs)].map(([, code], index) => ({
      name: `${file} (${index + 1})`,
      code: wrap(code!),
    }));
  });
}

/** Makes a program of a fragment: class members go into a class, statements into a function. */
function wrap(code: string): string {
  const isMember = /^@(OnMessage|OnGap|Sse|EventPattern|MessagePattern)/.test(code);
  const isDeclaration = /^(@\w+|(abstract )?class|const|import|export)\b/.test(code) && !/\bawait\b/.test(code);
  // Declarations of an example replace those of the fixtures.
  const own = new Set([...code.matchAll(/^(?:class|const) (\w+)/gm)].map(([, name]) => name));
  const fixtures = FIXTURES.split('\n').filter(
    (line) => ![...own].some((name) => new RegExp(`\\b${name}\\b`).test(line)),
  );
  const body = isMember
    ? `class Example { constructor(private readonly messages: SessionMessages) {} log(..._all: unknown[]) {}\n${code}\n}`
    : isDeclaration
      ? code
      : `async function example() {\n${code}\n}`;
  return `${PRELUDE}${fixtures.join('\n')}\n${body}`;
}

const filesOf = (folder: string, ending: string) =>
  readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith(ending))
    .map((file) => path.join(folder, file))
    .toSorted();

const texts = ['README.md', ...filesOf('docs', '.md'), ...filesOf('lib', '.md')];
const pages = texts.filter((file) => blocksOf(file).length > 0);
const documents = pages.flatMap((file, index) => [document(file), ...filesIn(file, index)]);
const examples = filesOf('lib', '.ts').flatMap(docstrings);

/** What `strict` leaves open, as applications have it. */
const STRICTNESS = {
  'strict and more': {},
  strict: { exactOptionalPropertyTypes: false, noUncheckedIndexedAccess: false },
};

function compile(all: readonly Example[], strictness: object = {}): Map<string, string[]> {
  const config = ts.readConfigFile(path.join(root, 'tsconfig.json'), (file) => ts.sys.readFile(file)).config as {
    compilerOptions: object;
  };
  const { options } = ts.convertCompilerOptionsFromJson(
    {
      ...config.compilerOptions,
      noPropertyAccessFromIndexSignature: false,
      noUnusedLocals: false,
      noUnusedParameters: false,
      noEmit: true,
      // Pages import files in the way of their bundlers: without an extension, or with that of TypeScript.
      module: 'ESNext',
      moduleResolution: 'Bundler',
      allowImportingTsExtensions: true,
      jsx: 'react-jsx',
      ...strictness,
    },
    root,
  );
  const names = new Map(
    all.map((example, index) => [path.join(root, 'test/types', example.path ?? `example-${index}.ts`), example]),
  );
  const folders = [...names.keys()].map((file) => path.dirname(file));
  const host = ts.createCompilerHost(options);
  const onDisk = ts.createCompilerHost(options);
  host.directoryExists = (folder) =>
    onDisk.directoryExists!(folder) || folders.some((known) => `${known}/`.startsWith(`${folder}/`));
  host.fileExists = (file) => names.has(file) || onDisk.fileExists(file);
  host.readFile = (file) => names.get(file)?.code ?? onDisk.readFile(file);
  host.getSourceFile = (file, ...rest) =>
    names.has(file)
      ? ts.createSourceFile(file, names.get(file)!.code, ts.ScriptTarget.ES2023)
      : onDisk.getSourceFile(file, ...rest);
  const program = ts.createProgram([...names.keys()], options, host);
  const problems = new Map<string, string[]>(all.map(({ name }) => [name, []]));
  for (const [file, { name }] of names) {
    const source = program.getSourceFile(file)!;
    for (const diagnostic of [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)]) {
      const { line } = source.getLineAndCharacterOfPosition(diagnostic.start ?? 0);
      const text = ts.flattenDiagnosticMessageText(diagnostic.messageText, ' ');
      problems.get(name)!.push(`${source.text.split('\n')[line]?.trim()}: ${text}`);
    }
  }
  return problems;
}

describe.each(Object.entries(STRICTNESS))('the examples, compiled with settings that are %s', (_, strictness) => {
  const problems = compile([...documents, ...examples], strictness);

  test.each(pages.map((name) => [name]))('of %s compile', (name) => {
    expect(problems.get(name)).toEqual([]);
  });

  test('of the docstrings compile', () => {
    expect(examples.length).toBeGreaterThan(8);
    expect(examples.flatMap(({ name }) => problems.get(name)!.map((problem) => `${name}: ${problem}`))).toEqual([]);
  });

  test('would fail if they were wrong', () => {
    const wrong = { name: 'wrong', code: wrap("await messaging.postMessage(UserUpdates, 'no update');") };
    expect(compile([wrong], strictness).get('wrong')).toHaveLength(1);
  });
});

/** The errors in a block that is not TypeScript, by its language. */
const PROBLEMS: Readonly<Record<string, (code: string) => readonly unknown[]>> = {
  js: (code) => ts.transpileModule(code, { reportDiagnostics: true, fileName: 'block.js' }).diagnostics!,
  json: (code) => (ts.parseConfigFileTextToJson('block.json', code).error ? [code] : []),
  yaml: (code) => parseAllDocuments(code).flatMap(({ errors }) => errors),
  svelte: (code) => {
    try {
      return compileSvelte(code, {}).warnings;
    } catch (error) {
      return [error];
    }
  },
};

describe.each(Object.entries(PROBLEMS))('the blocks of %s in the documents', (language, problemsOf) => {
  const blocks = texts.flatMap((file) => blocksOf(file, language));

  test('are valid', () => {
    expect(blocks.length).toBeGreaterThan(0);
    for (const block of blocks) expect(problemsOf(block)).toEqual([]);
  });

  test('would fail if they were wrong', () => {
    expect(problemsOf(`${blocks[0]}\n<script>{ const : [ }`)).not.toEqual([]);
  });
});

test('the examples of docs/testing.md run as tests, or with node:test in test/package', () => {
  const files = ['orders.ts', 'testing.spec.ts'].map((file) => read(`test/examples/testing/${file}`)).join('\n');
  const missing = blocksOf('docs/testing.md')
    .filter((block) => !block.includes("from 'node:test'"))
    .map((block) => block.replace(/^import (.|\n)*?;\n/gm, '').trim())
    .filter((block) => !files.includes(block));
  expect(missing).toEqual([]);
});
