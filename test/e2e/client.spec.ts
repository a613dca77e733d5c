import { describeClient } from '../support/client-suite.js';
import { NodeProgram } from '../support/client-programs.js';

describeClient('in Node', async (proxy) => new NodeProgram(proxy));
