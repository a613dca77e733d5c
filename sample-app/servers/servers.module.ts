import { Module } from '@nestjs/common';
import { ServerStatusService } from './server-status.service.js';

/** How this server stands with the others. */
@Module({ providers: [ServerStatusService], exports: [ServerStatusService] })
export class ServersModule {}
