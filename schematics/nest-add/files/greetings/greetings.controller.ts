import { BadRequestException, Body, Controller, Get, Header, HttpCode, Post } from '@nestjs/common';
import { GREETINGS_PAGE, GREETINGS_SCRIPT } from './greetings.page.js';
import { GreetingsService } from './greetings.service.js';

@Controller('greetings')
export class GreetingsController {
  constructor(private readonly greetings: GreetingsService) {}

  @Get()
  @Header('Content-Type', 'text/html; charset=utf-8')
  page(): string {
    return GREETINGS_PAGE;
  }

  // A page that is opened as /greetings/ asks for the second one.
  @Get(['script.js', 'greetings/script.js'])
  @Header('Content-Type', 'text/javascript; charset=utf-8')
  script(): string {
    return GREETINGS_SCRIPT;
  }

  @Post()
  @HttpCode(204)
  async post(@Body('text') text: unknown): Promise<void> {
    if (typeof text !== 'string') throw new BadRequestException('text must be a string');
    await this.greetings.post(text);
  }
}
