/** A list of unsigned 32-bit numbers that grows: an array that stays unboxed however long it gets. */
export class NumberList {
  length = 0;
  #numbers = new Uint32Array(64);

  push(number: number): void {
    if (this.length === this.#numbers.length) {
      const grown = new Uint32Array(this.length * 2);
      grown.set(this.#numbers);
      this.#numbers = grown;
    }
    this.#numbers[this.length++] = number;
  }

  at(index: number): number {
    return this.#numbers[index] as number;
  }

  set(index: number, number: number): void {
    this.#numbers[index] = number;
  }

  /** The numbers in ascending order, sorted in place. Valid until the next `push`. */
  sorted(): Uint32Array {
    return this.numbers().sort();
  }

  /** The numbers, not copied. Valid until the next `push`. */
  numbers(): Uint32Array {
    return this.#numbers.subarray(0, this.length);
  }
}

/** As {@link NumberList}, of any numbers (exact to 2^53 - 1). */
export class WideNumberList {
  length = 0;
  #numbers = new Float64Array(64);

  push(number: number): void {
    if (this.length === this.#numbers.length) {
      const grown = new Float64Array(this.length * 2);
      grown.set(this.#numbers);
      this.#numbers = grown;
    }
    this.#numbers[this.length++] = number;
  }

  at(index: number): number {
    return this.#numbers[index] as number;
  }

  set(index: number, number: number): void {
    this.#numbers[index] = number;
  }
}
