"""The demo: a whole fabric in a throwaway home, and six things that it promises, shown or checked one by one."""
