import { Body, Controller, Injectable, Module, Post } from '@nestjs/common';
import { defineChannel, MessagingModule, MessagingService, OnMessage, SessionMessages, Sse } from 'nestjs-messaging';

export class OrderPlaced {
  constructor(
    readonly id: number,
    readonly total: number,
  ) {}
}

export const OrdersPlaced = defineChannel('orders_placed', OrderPlaced, { clients: true });

@Injectable()
export class Orders {
  constructor(private readonly messages: MessagingService) {}

  place(id: number, total: number): Promise<boolean> {
    return this.messages.postMessage(OrdersPlaced, new OrderPlaced(id, total), { global: true });
  }
}

@Injectable()
export class Revenue {
  total = 0;

  @OnMessage(OrdersPlaced)
  add(order: OrderPlaced) {
    this.total += order.total;
  }
}

@Controller('orders')
export class OrdersController {
  constructor(
    private readonly orders: Orders,
    private readonly messages: SessionMessages,
  ) {}

  @Post()
  place(@Body() { id, total }: OrderPlaced) {
    return this.orders.place(id, total);
  }

  @Sse('updates')
  updates() {
    return this.messages.createStream(OrdersPlaced);
  }
}

@Module({ providers: [Orders, Revenue], controllers: [OrdersController] })
export class OrdersModule {}

@Module({ imports: [MessagingModule.forRoot({ redis: process.env['REDIS_URL'], gateway: true }), OrdersModule] })
export class AppModule {}
