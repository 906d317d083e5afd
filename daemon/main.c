/* satcheld: reads its arguments and configuration, starts the subsystems, waits, stops them. */
int main(void)
{
    return 0;
}
