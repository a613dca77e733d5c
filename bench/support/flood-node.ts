import { runFloodRole } from '../../test/support/flood-roles.js';

await runFloodRole();
