// Keeps the report of the public API, etc/nestjs-messaging.api.md, equal to the declarations in dist/lib, so that a review
// shows each change of it.
//
//   node .ci/api-report.mjs            writes it
//   node .ci/api-report.mjs --check    fails if it is not equal
import { Extractor, ExtractorConfig } from '@microsoft/api-extractor';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const isCheck = process.argv.includes('--check');
const REPORT = 'nestjs-messaging.api.md';

/** All entries in one report, the main one first: a type that several of them use stands there once. */
const ENTRIES = `export * from '../lib/index.js';
export * as client from '../lib/client/index.js';
export * as microservices from '../lib/nest/microservices/index.js';
export * as testing from '../lib/testing/index.js';
`;

const SILENT = { default: { logLevel: 'none' } };
const temporary = mkdtempSync(join(root, 'dist/api-'));
try {
  const { apiReportChanged: isChanged } = report();
  if (!isChanged) console.log(`etc/${REPORT} shows the public API as it is.`);
  else if (!isCheck)
    console.log(`etc/${REPORT} is written anew. Lines that it loses or changes may break applications.`);
  else {
    console.error(
      `The public API is not as etc/${REPORT} shows it. Run \`npm run api\` and commit the report. ` +
        'Lines that it loses or changes may break applications.',
    );
    process.exitCode = 1;
  }
} finally {
  rmSync(temporary, { recursive: true, force: true });
}

function report() {
  const entries = join(temporary, 'entries.d.ts');
  writeFileSync(entries, ENTRIES);
  const config = ExtractorConfig.prepare({
    packageJsonFullPath: join(root, 'package.json'),
    configObjectFullPath: undefined,
    configObject: {
      projectFolder: root,
      mainEntryPointFilePath: entries,
      newlineKind: 'lf',
      compiler: { tsconfigFilePath: join(root, 'lib/tsconfig.json') },
      apiReport: {
        enabled: true,
        // Types that signatures name are part of the API, even if nobody can import them.
        includeForgottenExports: true,
        reportFolder: join(root, 'etc'),
        reportTempFolder: temporary,
        reportFileName: REPORT,
      },
      docModel: { enabled: false },
      dtsRollup: { enabled: false },
      tsdocMetadata: { enabled: false },
      messages: {
        compilerMessageReporting: SILENT,
        extractorMessageReporting: SILENT,
        tsdocMessageReporting: SILENT,
      },
    },
  });
  return Extractor.invoke(config, { localBuild: !isCheck, messageCallback: beSilent });
}

/** The messages are written above. */
function beSilent(message) {
  message.handled = true;
}
