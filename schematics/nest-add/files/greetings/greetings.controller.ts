import { BadRequestException, Body, Controller, Get, Header, HttpCode, Post } from '@nestjs/common';
import { GREETINGS_PAGE } from './greetings.page.js';
import { GreetingsService } from './greetings.service.js';

@Controller('greetings')
export class GreetingsController {
  constructor(private readonly greetings: GreetingsService) {}

  @Get()
  @Header('Content-Type', 'text/html; charset=utf-8')
  page(): string {
    return GREETINGS_PAGE;
  }

  @Post()
  @HttpCode(204)
  async post(@Body('text') text: unknown): Promise<void> {
    if (typeof text !== 'string') throw new BadRequestException('text must be a string');
    await this.greetings.post(text);
  }
}
